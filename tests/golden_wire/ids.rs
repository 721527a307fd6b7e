//! Which of our ids stands for which recorded one; learnt from answers, one to one.

use std::collections::BTreeMap;

/// The services' addresses in the records and ours.
const ENDPOINTS: [(&str, &str); 4] = [
    ("{keystone}", "http://keystone:5000"),
    ("{nova}", "http://nova-api:8774"),
    ("{cinder}", "http://cinder:8776"),
    ("{glance}", "http://glance:9292"),
];

/// Recorded texts that vary from cloud to cloud, and ours.
#[derive(Clone, Default)]
pub(crate) struct Ids {
    ours: BTreeMap<String, String>,
    recorded: BTreeMap<String, String>,
    tokens: BTreeMap<String, String>,
}

impl Ids {
    /// Notes that `ours` stands for `recorded`; what was learnt already when it is another.
    pub(crate) fn learn(&mut self, recorded: &str, ours: &str) -> Result<(), String> {
        if let Some(known) = self.ours.get(recorded) {
            return match known == ours {
                true => Ok(()),
                false => Err(format!("{recorded} was {known} before, now {ours}")),
            };
        }
        if let Some(known) = self.recorded.get(ours) {
            return Err(format!("{ours} stands for {known}, and now for {recorded}"));
        }
        self.ours.insert(recorded.to_owned(), ours.to_owned());
        self.recorded.insert(ours.to_owned(), recorded.to_owned());
        Ok(())
    }

    pub(crate) fn knows(&self, recorded: &str) -> bool {
        self.ours.contains_key(recorded)
    }

    /// Notes the token of a `{token:NAME}`.
    pub(crate) fn learn_token(&mut self, name: &str, ours: &str) -> Result<(), String> {
        match self.tokens.insert(name.to_owned(), ours.to_owned()) {
            Some(known) if known != ours => Err(format!("{name} is not the token it was")),
            _ => Ok(()),
        }
    }

    /// A recorded text with our ids, addresses and tokens in it.
    pub(crate) fn translate(&self, recorded: &str) -> String {
        let mut text = recorded.to_owned();
        let endpoints = ENDPOINTS.iter().map(|(name, url)| (*name, *url));
        let ids = self.ours.iter().map(|(recorded, ours)| (recorded.as_str(), ours.as_str()));
        let tokens = self.tokens.iter().map(|(name, token)| (name.as_str(), token.as_str()));
        for (from, to) in endpoints.chain(ids).chain(tokens) {
            if text.contains(from) {
                text = text.replace(from, to);
            }
        }
        text
    }
}

/// Whether a text is an id: a UUID, or 32 hexadecimal digits.
pub(crate) fn is_id(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_hexdigit).count();
    let hyphens: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
    digits == 32
        && digits + hyphens.len() == text.chars().count()
        && (hyphens.is_empty() || hyphens == [8, 13, 18, 23])
}

/// Whether a text is a point in time.
pub(crate) fn is_time(text: &str) -> bool {
    shape(text).starts_with("9999-99-99T99:99:99")
}

/// The text with every digit a nine: two times of one format have one shape.
pub(crate) fn shape(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect()
}
