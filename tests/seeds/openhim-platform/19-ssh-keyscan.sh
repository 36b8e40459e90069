ssh-keyscan -H <host> >> ~/.ssh/known_hosts
