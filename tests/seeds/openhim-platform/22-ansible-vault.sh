echo -n '<YOUR SECRET>' | ansible-vault encrypt_string
