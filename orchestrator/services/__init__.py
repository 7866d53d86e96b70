"""Services: their order, their checks, their units and journal."""
