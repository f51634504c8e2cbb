"""How dates are shown, by language. Django looks here first."""
