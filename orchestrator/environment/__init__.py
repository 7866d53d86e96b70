"""The running thing: plan → machines up → services gated → handed over → taken down."""
