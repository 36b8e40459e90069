terraform init
