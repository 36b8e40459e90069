ssh ubuntu@<ip_address>
