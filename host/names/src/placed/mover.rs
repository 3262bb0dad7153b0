//! Moves a tenant.
