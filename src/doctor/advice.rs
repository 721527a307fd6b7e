//! What in nova's and cinder's configuration makes a detach unsafe, stuck or slow.
//!
//! Options, defaults and limits are those of Nova and Cinder 2026.1 and of os-brick 7. Nothing is
//! asked of a running service: a role that keystone does not give to nova's user is not seen here.

mod locks;
mod multipath;
mod patience;
mod tokens;
mod words;

use serde::Serialize;

use super::conf::{Conf, Value};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Data, or somebody else's volume, is at risk.
    Unsafe,
    /// A detach can fail or stay where it is, for no reason of its own.
    Stuck,
    /// Worth knowing.
    Note,
}

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// How bad it is.
    pub severity: Severity,
    /// The service whose file it is.
    pub service: &'static str,
    /// `[section] option`.
    pub option: String,
    /// Its value, or that it is not set.
    pub found: String,
    /// `FILE:LINE`, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What comes of it.
    pub what: String,
    /// What to do.
    pub fix: String,
    /// Where that is written.
    pub reference: &'static str,
}

/// A service's configuration.
pub(crate) struct Service<'a> {
    name: &'static str,
    conf: &'a Conf,
}

/// An option: its section, its name and its older names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt {
    section: &'static str,
    names: &'static [&'static str],
}

pub(crate) const fn opt(section: &'static str, names: &'static [&'static str]) -> Opt {
    Opt { section, names }
}

impl Service<'_> {
    fn get(&self, of: Opt) -> Option<Value> {
        self.conf.get(of.section, of.names)
    }

    /// A boolean as oslo.config reads it; what is none of its words counts as the default, and
    /// [`words`] tells of it.
    fn flag(&self, of: Opt, default: bool) -> bool {
        self.get(of).and_then(|v| truth(&v.text)).unwrap_or(default)
    }

    /// A whole number; what is none counts as the default, and [`words`] tells of it.
    fn number(&self, of: Opt, default: i64) -> i64 {
        self.get(of).and_then(|v| v.text.trim().parse().ok()).unwrap_or(default)
    }

    fn advice(
        &self,
        severity: Severity,
        of: Opt,
        what: impl Into<String>,
        fix: impl Into<String>,
        reference: &'static str,
    ) -> Advice {
        let value = self.conf.raw(of.section, of.names);
        Advice {
            severity,
            service: self.name,
            option: format!("[{}] {}", of.section, of.names.first().unwrap_or(&"")),
            found: value.map_or_else(|| "not set".to_owned(), |v| v.text.clone()),
            place: value.map(|v| v.place.clone()),
            what: what.into(),
            fix: fix.into(),
            reference,
        }
    }
}

/// oslo.config's words for yes and no (its types.Boolean).
fn truth(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Some(true),
        "false" | "0" | "off" | "no" => Some(false),
        _ => None,
    }
}

/// Everything there is to say, the worst first.
pub fn advise(nova: Option<&Conf>, cinder: Option<&Conf>) -> Vec<Advice> {
    let nova = nova.map(|conf| Service { name: "nova", conf });
    let cinder = cinder.map(|conf| Service { name: "cinder", conf });
    let (nova, cinder) = (nova.as_ref(), cinder.as_ref());
    let mut all = Vec::new();
    tokens::check(nova, cinder, &mut all);
    locks::check(nova, cinder, &mut all);
    multipath::check(nova, cinder, &mut all);
    patience::check(nova, cinder, &mut all);
    for service in [nova, cinder].into_iter().flatten() {
        words::check(service, &mut all);
    }
    all.sort_by_key(|advice| advice.severity);
    all
}

#[cfg(test)]
mod tests;
