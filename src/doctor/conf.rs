//! oslo.config's INI files, as oslo.config reads them (its iniparser.py and cfg.py): a line that
//! begins with a space goes on with the value above it, a value in quotes loses them, an option
//! that is given again replaces the one before, and `$name`, `${name}`, `$group.name` stand for
//! other options. No crate for INI files reads them so.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// It cannot be opened, or is no text.
    #[error("cannot read {path}: {message}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        message: String,
    },
    /// A line that oslo.config refuses too: the service does not start with it.
    /// Its text is not shown: it may be a password.
    #[error("{path}:{line}: {why}")]
    Line {
        /// The file.
        path: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As written; lines of a multi-line value are joined by line ends.
    pub text: String,
    /// `FILE:LINE`.
    pub place: String,
}

/// The configuration of one service: one file, or several of which the later ones win.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    /// By section and option. Sections other than DEFAULT are in lower case.
    options: BTreeMap<(String, String), Value>,
}

fn section_name(name: &str) -> String {
    // oslo.config tells DEFAULT from default, and no other two.
    if name == "DEFAULT" { name.to_owned() } else { name.to_lowercase() }
}

impl Conf {
    /// Reads these files, the later ones over the earlier.
    ///
    /// # Errors
    /// When one cannot be read, or has a line that oslo.config refuses.
    pub fn read(files: &[PathBuf]) -> Result<Conf, ConfError> {
        let mut conf = Conf::default();
        for file in files {
            let path = file.display().to_string();
            let text = std::fs::read_to_string(file)
                .map_err(|e| ConfError::Read { path: path.clone(), message: e.to_string() })?;
            conf.add(&path, &text)?;
        }
        Ok(conf)
    }

    /// Adds a file's text.
    ///
    /// # Errors
    /// When it has a line that oslo.config refuses.
    pub fn add(&mut self, path: &str, text: &str) -> Result<(), ConfError> {
        let mut section = None;
        // The option whose value may go on.
        let mut open: Option<(String, String)> = None;
        for (index, raw) in text.lines().enumerate() {
            let (line, number) = (raw.trim_end(), index + 1);
            let wrong = |why| ConfError::Line { path: path.to_owned(), line: number, why };
            if line.is_empty() {
                open = None;
            } else if line.starts_with([' ', '\t']) {
                let key = open.as_ref().ok_or_else(|| wrong("it goes on with no option"))?;
                if let Some(value) = self.options.get_mut(key) {
                    value.text.push('\n');
                    value.text.push_str(line.trim_start());
                }
            } else if let Some(rest) = line.strip_prefix('[') {
                let name = rest.strip_suffix(']').ok_or_else(|| wrong("its bracket is open"))?;
                if name.is_empty() {
                    return Err(wrong("the section has no name"));
                }
                (section, open) = (Some(section_name(name)), None);
            } else if line.starts_with(['#', ';']) {
                open = None;
            } else {
                let at = line.find(['=', ':']).ok_or_else(|| wrong("it has no = or :"))?;
                let (name, value) = (line[..at].trim(), line[at + 1..].trim());
                if name.is_empty() {
                    return Err(wrong("the option has no name"));
                }
                let section = section.clone().ok_or_else(|| wrong("no section is open"))?;
                let key = (section, name.to_owned());
                let place = format!("{path}:{number}");
                self.options.insert(key.clone(), Value { text: unquoted(value).to_owned(), place });
                open = Some(key);
            }
        }
        Ok(())
    }

    /// The option as it is written, of this name or of one of its older names.
    pub fn raw(&self, section: &str, names: &[&str]) -> Option<&Value> {
        let section = section_name(section);
        names.iter().find_map(|name| self.options.get(&(section.clone(), (*name).to_owned())))
    }

    /// The option's value, references to other options replaced; one that leads nowhere stays.
    pub fn get(&self, section: &str, names: &[&str]) -> Option<Value> {
        let value = self.raw(section, names)?;
        let text = self.substituted(&section_name(section), &value.text, DEEPEST);
        Some(Value { text, place: value.place.clone() })
    }

    /// Every option: section, name, value.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.options.iter().map(|((section, name), value)| (section.as_str(), name.as_str(), value))
    }

    fn substituted(&self, section: &str, text: &str, left: u8) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            // A backslash before it, or another dollar, makes it a dollar.
            if let Some(before) = rest[..at].strip_suffix('\\') {
                out.push_str(before);
                out.push('$');
                rest = &rest[at + 1..];
                continue;
            }
            out.push_str(&rest[..at]);
            let tail = &rest[at + 1..];
            if let Some(tail) = tail.strip_prefix('$') {
                out.push('$');
                rest = tail;
                continue;
            }
            let (name, length) = reference(tail);
            let found = name.and_then(|name| self.refers_to(section, name)).filter(|_| left > 0);
            match found {
                Some((section, value)) => {
                    out.push_str(&self.substituted(&section, &value, left - 1));
                }
                None => out.push_str(&rest[at..at + 1 + length]),
            }
            rest = &tail[length..];
        }
        out + rest
    }

    /// The value that a name in this section stands for, and that value's section.
    fn refers_to(&self, section: &str, name: &str) -> Option<(String, String)> {
        let of = |section: &str, name: &str| {
            let value = self.raw(section, &[name])?;
            Some((section_name(section), value.text.clone()))
        };
        match name.split_once('.') {
            Some((group, name)) => of(group, name),
            None => of(section, name).or_else(|| of("DEFAULT", name)),
        }
    }
}

/// References within references: more is a circle.
const DEEPEST: u8 = 16;

/// The name at the beginning of what comes after a dollar, and how long it is with its braces.
fn reference(tail: &str) -> (Option<&str>, usize) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if let Some(inner) = tail.strip_prefix('{') {
        return match inner.find('}') {
            Some(end) if inner[..end].chars().all(is_name) => (Some(&inner[..end]), end + 2),
            Some(_) | None => (None, 0),
        };
    }
    let end = tail.find(|c| !is_name(c)).unwrap_or(tail.len());
    // A dot at the end is the sentence's.
    let name = tail[..end].trim_end_matches('.');
    (Some(name).filter(|n| !n.is_empty()), name.len())
}

fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

    use super::*;

    fn conf(text: &str) -> Conf {
        let mut conf = Conf::default();
        conf.add("nova.conf", text).unwrap();
        conf
    }

    fn get(conf: &Conf, section: &str, name: &str) -> Option<String> {
        conf.get(section, &[name]).map(|v| v.text)
    }

    #[test]
    fn what_oslo_config_reads_is_read_so() {
        let conf = conf(concat!(
            "# a comment\n[DEFAULT]\nstate_path = /var/lib/nova\n; another\ndebug: yes\n",
            "transport_url = rabbit://a:b=c@host:5672/\nempty =\nquoted = \" a b \"\n",
            "many = one,\n    two,\n\tthree\n\n[Service_User]\nusername=nova\nusername = nova2\n",
        ));
        assert_eq!(get(&conf, "DEFAULT", "debug").unwrap(), "yes");
        assert_eq!(get(&conf, "DEFAULT", "transport_url").unwrap(), "rabbit://a:b=c@host:5672/");
        assert_eq!(get(&conf, "DEFAULT", "empty").unwrap(), "");
        assert_eq!(get(&conf, "DEFAULT", "quoted").unwrap(), " a b ");
        assert_eq!(get(&conf, "DEFAULT", "many").unwrap(), "one,\ntwo,\nthree");
        assert_eq!(get(&conf, "service_user", "username").unwrap(), "nova2");
        assert_eq!(conf.raw("service_user", &["username"]).unwrap().place, "nova.conf:15");
        assert_eq!(get(&conf, "default", "debug"), None, "default is another section");
    }

    #[test]
    fn a_name_after_a_dollar_stands_for_its_option() {
        let conf = conf(concat!(
            "[DEFAULT]\nstate_path = /var/lib/nova\nhost = c1\nloop = $loop\n",
            "price = $$5 and \\$6 for ${nothing}\n[oslo_concurrency]\nlock_path = $state_path/tmp\n",
            "other = ${DEFAULT.host}-$paths.root.\n[paths]\nroot = ${state_path}/root\n",
        ));
        assert_eq!(get(&conf, "oslo_concurrency", "lock_path").unwrap(), "/var/lib/nova/tmp");
        assert_eq!(get(&conf, "oslo_concurrency", "other").unwrap(), "c1-/var/lib/nova/root.");
        assert_eq!(get(&conf, "DEFAULT", "price").unwrap(), "$5 and $6 for ${nothing}");
        assert_eq!(get(&conf, "DEFAULT", "loop").unwrap(), "$loop");
    }

    #[test]
    fn a_later_file_wins_option_by_option() {
        let mut conf = conf("[libvirt]\ndevice_detach_attempts = 8\nvirt_type = kvm\n");
        conf.add("nova-cpu.conf", "[libvirt]\ndevice_detach_attempts = 2\n").unwrap();
        let attempts = conf.raw("libvirt", &["device_detach_attempts"]).unwrap();
        assert_eq!((attempts.text.as_str(), attempts.place.as_str()), ("2", "nova-cpu.conf:2"));
        assert_eq!(get(&conf, "libvirt", "virt_type").unwrap(), "kvm");
    }

    #[test]
    fn what_oslo_config_refuses_is_refused_with_its_line() {
        for (text, why) in [
            ("debug = true\n", "nova.conf:1: no section is open"),
            ("[DEFAULT\n", "nova.conf:1: its bracket is open"),
            ("[]\n", "nova.conf:1: the section has no name"),
            ("[DEFAULT]\ndebug\n", "nova.conf:2: it has no = or :"),
            ("[DEFAULT]\n= 5\n", "nova.conf:2: the option has no name"),
            ("[DEFAULT]\n  more\n", "nova.conf:2: it goes on with no option"),
            ("[DEFAULT]\na = 1\n\n  more\n", "nova.conf:4: it goes on with no option"),
        ] {
            let error = Conf::default().add("nova.conf", text).unwrap_err().to_string();
            assert!(error.starts_with(why), "{text:?}: {error}");
        }
    }
}
