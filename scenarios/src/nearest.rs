//! Did you mean: the known name that a misspelt one is closest to.

/// The candidate nearest to `wanted`, if one is near enough to be what was meant.
///
/// Case does not count, and an operation may lack its `system::`.
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    // A third of the name may be wrong; further away, a suggestion misleads.
    let limit = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|c| (distance(&wanted, comparable(c, &wanted)), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// The part of a candidate to compare with: without its system when `wanted` has none.
fn comparable<'a>(candidate: &'a str, wanted: &str) -> &'a str {
    match candidate.split_once("::") {
        Some((_, operation)) if !wanted.contains("::") => operation,
        _ => candidate,
    }
}

/// Levenshtein's distance: insertions, deletions and substitutions.
fn distance(wanted: &str, candidate: &str) -> usize {
    let wanted: Vec<char> = wanted.chars().collect();
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (i, c) in candidate.chars().flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, w) in wanted.iter().enumerate() {
            let substituted = diagonal + usize::from(*w != c);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[wanted.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_single_character_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "SAME"), 0);
    }

    #[test]
    fn a_name_without_its_system_finds_its_operation() {
        let names = ["host::FlushBufs", "iscsi::Logout"];
        assert_eq!(nearest("flushbuf", names), Some("host::FlushBufs"));
        assert_eq!(nearest("host::Flush_Bufs", names), Some("host::FlushBufs"));
    }

    #[test]
    fn a_name_that_is_like_none_finds_none() {
        assert_eq!(nearest("reboot-the-moon", ["host::FlushBufs", "iscsi::Logout"]), None);
        assert_eq!(nearest("", ["pike"]), None);
    }
}
