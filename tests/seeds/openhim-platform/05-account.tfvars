ACCOUNT = "<account_name>"
