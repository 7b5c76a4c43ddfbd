"""Services of others, answered from this machine by the rules that they publish."""
