"""Control page: a page that shows and changes everything, over one WebSocket."""
