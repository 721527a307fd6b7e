//! Names that a host chooses, replaced by the order in which they come.

/// The names of one process's trace.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Vec<(&'static str, String)>);

/// Words after which a number is an id, a time or a place that means nothing elsewhere.
const COUNTED: [&str; 7] = ["sid", "tcp", "expires", "waiter", "BDM", "id", "session"];
/// Words after which the name of a compute host stands.
const BEFORE_HOST: [&str; 2] = ["on", "Service.get_by_compute_host"];

impl Names {
    /// A text with every name replaced.
    pub(super) fn normal(&mut self, text: &str) -> String {
        let text = self.uuids(text);
        let mut out = String::new();
        let mut before = String::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if end == 0 {
                let c = rest.chars().next().unwrap_or_default();
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let (word, tail) = rest.split_at(end);
            // A colon at the end of a word is the sentence's.
            let (word, colon) = word.strip_suffix(':').map_or((word, ""), |w| (w, ":"));
            out.push_str(&self.word(&before, word));
            out.push_str(colon);
            before = word.to_owned();
            rest = tail;
        }
        out
    }

    fn name(&mut self, kind: &'static str, word: &str) -> String {
        let known = self.0.iter().any(|(k, w)| *k == kind && w == word);
        if !known {
            self.0.push((kind, word.to_owned()));
        }
        let same = self.0.iter().filter(|(k, _)| *k == kind);
        format!("<{kind}{}>", same.take_while(|(_, w)| w != word).count() + 1)
    }

    fn uuids(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let found = rest.get(..36).filter(|w| is_uuid(w));
            match found {
                Some(uuid) => {
                    out.push_str(&self.name("uuid", uuid));
                    rest = &rest[36..];
                }
                None => {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        out
    }

    fn word(&mut self, before: &str, word: &str) -> String {
        let number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
        // iscsiadm writes some portals as `10.0.0.1,3260`.
        if number && (COUNTED.contains(&before) || kind(before) == Some("portal")) {
            return "#".to_owned();
        }
        if before == "-f" {
            return self.map(word);
        }
        if BEFORE_HOST.contains(&before) {
            return "<host>".to_owned();
        }
        if word.starts_with("compute.") {
            return "compute.<host>".to_owned();
        }
        // Only a path has parts; the target in a by-path link is part of the link's own name.
        let parts: Vec<String> = word.split('/').map(|part| self.part(part)).collect();
        parts.join("/")
    }

    /// The name of a map: `mpatha`, or a WWID where multipath.conf wants no friendly names.
    pub(super) fn map(&mut self, name: &str) -> String {
        self.name("map", name)
    }

    fn part(&mut self, part: &str) -> String {
        match kind(part) {
            Some(kind) => self.name(kind, part),
            None => part.to_owned(),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._:/@-<>".contains(c)
}

fn is_uuid(word: &str) -> bool {
    word.char_indices().all(|(i, c)| match i {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    })
}

/// What a host's name is a name of.
fn kind(part: &str) -> Option<&'static str> {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let letters = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase());
    let after = |prefix: &str, rest: fn(&str) -> bool| part.strip_prefix(prefix).is_some_and(rest);
    let is_digits: fn(&str) -> bool = |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let is_letters: fn(&str) -> bool =
        |s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase());
    let hex = |s: &str| s.bytes().all(|b| b.is_ascii_hexdigit());
    let address = part.split_once(':').map_or(part, |(address, _)| address);
    let quads = |s: &str| s.split('.').count() == 4 && s.split('.').all(digits);
    let colons: Vec<&str> = part.split(':').collect();
    if part.starts_with("iqn.") {
        Some("target")
    } else if part.starts_with("ip-") && part.contains("-lun-") {
        Some("link")
    } else if quads(address) && part.split_once(':').is_none_or(|(_, port)| digits(port)) {
        Some("portal")
    } else if colons.len() == 4 && colons.iter().all(|c| digits(c)) {
        Some("hctl")
    } else if after("sd", is_letters) {
        Some("disk")
    } else if after("vd", |s| s.len() == 1 && s.bytes().all(|b| b.is_ascii_lowercase())) {
        Some("guest-disk")
    } else if after("dm-", is_digits) {
        Some("dm")
    } else if part.strip_prefix("session").is_some_and(digits) {
        Some("session")
    } else if part.strip_prefix("mpath").is_some_and(letters) {
        Some("map")
    } else if part.starts_with('3') && matches!(part.len(), 17 | 33) && hex(part) {
        Some("wwid")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_words_for_the_same_are_the_same() {
        let (mut one, mut two) = (Names::default(), Names::default());
        let pairs = [
            (
                "iscsiadm -m node -T iqn.2010-10.org.openstack:volume-30d72547-9316-4c2a-84c9-6ebc30912e01 -p 10.0.0.1:3260 --logout",
                "iscsiadm -m node -T iqn.2026-11.org.castoff:lab -p 127.0.0.1:3260 --logout",
            ),
            (
                "exit 0: Logout of [sid: 1, target: iqn.2010-10.org.openstack:volume-30d72547-9316-4c2a-84c9-6ebc30912e01, portal: 10.0.0.1,3260] successful.",
                "exit 0: Logout of [sid: 7, target: iqn.2026-11.org.castoff:lab, portal: 127.0.0.1,3260] successful.",
            ),
            (
                "exit 0: Logging out of session [sid: 1, target: iqn.a, portal: 10.0.0.1,3260]",
                "exit 0: Logging out of session [sid: 2, target: iqn.b, portal: 127.0.0.1,33260]",
            ),
            ("multipath -f mpatha: exit 0", "multipath -f 3600ca57000000001: exit 0"),
            (
                "tee -a /sys/block/sdb/device/delete <<< 1",
                "tee -a /sys/block/sda/device/delete <<< 1",
            ),
            ("glob session1/target*/*:*:*:*/block/*", "glob session12/target*/*:*:*:*/block/*"),
            ("2:0:0:1 sdb", "0:0:0:1 sda"),
            (
                "GET /v3/volumes/30d72547-9316-4c2a-84c9-6ebc30912e01",
                "GET /v3/volumes/ca570ff0-0000-4000-8000-000000000001",
            ),
            ("201 token *** expires 4200.006092", "201 token *** expires 3617.1"),
            ("CAST compute.compute-1 detach_volume", "CAST compute.castoff-conform detach_volume"),
            ("active on compute-1", "active on castoff-conform"),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(one.normal(ours), two.normal(theirs));
        }
    }

    #[test]
    fn what_differs_stays_different() {
        let mut names = Names::default();
        for (one, two) in [
            ("exit 0: ok", "exit 21: ok"),
            ("blockdev --flushbufs /dev/sda", "blockdev --flushbufs /dev/sdb"),
            ("200 in-use", "200 detaching"),
            ("disks vdb", "no disks"),
            ("1 rows", "2 rows"),
        ] {
            assert_ne!(names.normal(one), names.normal(two));
        }
    }
}
