//! Tests of the real binary with real servers: a request goes in over HTTP, and what is checked is what comes out, what
//! stands in memcached and what stands in the database.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ends;
mod fixture;
mod terminal;

mod admin;
mod admission;
mod alerts;
mod authentication;
mod backup;
mod bad_input;
mod callers;
mod compat;
mod deploy;
mod deploy_back;
mod develop;
mod documents;
mod fleet;
mod fleet_deploy;
mod follow;
mod guests;
mod holds;
mod inspect;
mod languages;
mod lists;
mod manager;
mod manual;
mod monitoring;
mod new_project;
mod openapi;
mod operators;
mod packaging;
mod page;
mod postgres;
mod protected_locks;
mod quota;
mod registry;
mod reload;
mod rename;
mod replay;
mod requests;
mod rolling;
mod scenarios;
mod several_databases;
mod story;
mod tls;
mod top;
mod traces;
mod updates;
mod usage;
