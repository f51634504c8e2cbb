"""`/account/`: the pages on which people sign in, make an account and look after it. No page needs a script."""
