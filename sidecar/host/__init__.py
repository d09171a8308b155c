"""What runs in the host: a module to be copied into it, or imported from here."""
