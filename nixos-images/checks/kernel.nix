# The options that nixpkgs states for the kernel of a machine, as its generate-config.pl reads them.
config: config.boot.kernelPackages.kernel.configfile.moduleStructuredConfig.intermediateNixConfig
