ansible-galaxy collection install community.docker
