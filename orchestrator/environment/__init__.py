"""The running thing: plan → machines up → services proven → handed over → taken down."""
