"""The providers of images, one module each: this folder is the list of them (`orchestrator.images.provider_kind`)."""
