"""Where live changes come from."""
