"""Parts by a third party: a model, a pattern, a tool and a command."""
