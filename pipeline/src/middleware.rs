//! WSGI middleware in front of nova-api.

pub mod auth_token;
