//! Is a component, and no handler: it exports nothing.
