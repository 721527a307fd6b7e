//! What this process has issued, noted where it is: commands as they are started, calls of libvirt
//! as they enter its library. A recording of a real Nova has the same two kinds.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The newest are kept; a detach issues some thirty.
const KEPT: usize = 10_000;

/// libvirt's calls run on threads of their own.
static ISSUED: Mutex<VecDeque<(Instant, String)>> = Mutex::new(VecDeque::new());

/// Notes a call of libvirt (`virDomainGetXMLDesc flags=0x2`).
pub(crate) fn libvirt(text: String) {
    let mut issued = ISSUED.lock().unwrap_or_else(PoisonError::into_inner);
    if issued.len() == KEPT {
        issued.pop_front();
    }
    issued.push_back((Instant::now(), text));
}

/// Notes a command that is about to start; the value of a password is not noted.
pub(crate) fn command(program: &str, args: &[OsString]) {
    let mut text = program.to_owned();
    let (mut before, mut secret) = ("".into(), false);
    for arg in args {
        let word = arg.to_string_lossy();
        text.push(' ');
        text.push_str(if secret && before == "-v" { "***" } else { &word });
        secret |= before == "-n" && word.contains("password");
        before = word;
    }
    libvirt(text);
}

/// All that was noted from then on, in order.
pub(crate) fn since(begin: Instant) -> Vec<(Instant, String)> {
    let issued = ISSUED.lock().unwrap_or_else(PoisonError::into_inner);
    issued.iter().filter(|(at, _)| *at >= begin).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_noted_as_it_is_started_but_for_a_password() {
        let begin = Instant::now();
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        command("iscsiadm", &words("-m node --op update -n node.session.auth.password -v hush"));
        command("iscsiadm", &words("-m node --op update -n node.startup -v manual"));
        let noted: Vec<String> = since(begin).into_iter().map(|(_, text)| text).collect();
        let has = |text: &str| noted.iter().any(|n| n == text);
        assert!(has("iscsiadm -m node --op update -n node.session.auth.password -v ***"));
        assert!(has("iscsiadm -m node --op update -n node.startup -v manual"), "{noted:?}");
        assert!(noted.iter().all(|n| !n.contains("hush")), "{noted:?}");
    }
}
