"""Who owns an organisation: the directory of the configuration, asked when a mail is sent."""
