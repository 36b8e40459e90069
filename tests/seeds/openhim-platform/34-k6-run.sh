k6 run load.js
