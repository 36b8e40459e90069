terraform destroy -var-file my.tfvars
