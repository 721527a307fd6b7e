//! Which cases a user means.

use super::case::Case;
use super::cases;

/// A pattern that no case's id matches.
#[derive(Debug, thiserror::Error)]
#[error("no case is called {pattern:?}")]
pub struct NoCase {
    /// The pattern.
    pub pattern: String,
}

/// The cases whose id matches one of the patterns, in their own order; all without a pattern.
///
/// `*` stands for any characters, `/` among them; a pattern that is a group's name (`detach`,
/// `guest/unplug`) means all of it.
///
/// # Errors
/// When a pattern matches nothing: it is a mistake, not an empty run.
pub fn select(patterns: &[String]) -> Result<Vec<&'static Case>, NoCase> {
    for pattern in patterns {
        if !cases::all().any(|c| matches(pattern, c.id)) {
            return Err(NoCase { pattern: pattern.clone() });
        }
    }
    let wanted = |id| patterns.is_empty() || patterns.iter().any(|p| matches(p, id));
    Ok(cases::all().filter(|c| wanted(c.id)).collect())
}

fn matches(pattern: &str, id: &str) -> bool {
    let in_group = id.strip_prefix(pattern.trim_end_matches('/'));
    in_group.is_some_and(|rest| rest.starts_with('/')) || glob(pattern, id)
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else { return false };
            // Ids are ASCII: every index is a boundary.
            (0..=rest.len()).any(|at| glob(tail, &rest[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_a_group_for_all_of_it() {
        let id = "guest/unplug/paused";
        for pattern in
            ["guest/unplug/paused", "guest", "guest/", "guest/unplug", "*paused", "g*/*d", "*"]
        {
            assert!(matches(pattern, id), "{pattern}");
        }
        for pattern in ["gues", "guest/un", "paused", "guest/unplug/paused/x", "*pause", ""] {
            assert!(!matches(pattern, id), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_without_a_case_is_a_mistake() {
        let all = select(&[]).map(|c| c.len()).unwrap_or_default();
        assert_eq!(all, cases::all().count());
        let error = select(&["detach/*".to_owned(), "nonsense".to_owned()]).err();
        assert_eq!(error.map(|e| e.pattern).as_deref(), Some("nonsense"));
    }
}
