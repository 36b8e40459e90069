terraform apply -var-file my.tfvars
