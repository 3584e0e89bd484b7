//! Nothing but one set of features for every dependency, whichever packages are built: see `.config/hakari.toml`.
