//! The names of requests.

use std::cell::RefCell;

use castoff_ports::{ProjectId, RequestId, UserId};

/// What is known of a request beyond its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// `req-<uuid>`: in headers, in instance_actions, in logs.
    pub name: String,
    /// Whose it is.
    pub user: Option<UserId>,
    /// In which project.
    pub project: Option<ProjectId>,
}

/// castoff numbers requests, nova names them: which is which. A number is not given twice.
///
/// A long-lived process keeps the newest [`Requests::KEPT`].
#[derive(Debug, Default)]
pub struct Requests(RefCell<Known>);

#[derive(Debug, Default)]
struct Known {
    last: u32,
    infos: std::collections::VecDeque<(RequestId, RequestInfo)>,
}

impl Requests {
    /// How many requests are remembered: those under way and long after.
    pub const KEPT: usize = 4096;

    /// The number of a request: the one it has, or a new one.
    pub fn number(&self, info: RequestInfo) -> RequestId {
        let mut known = self.0.borrow_mut();
        if let Some((number, _)) = known.infos.iter().find(|(_, i)| i.name == info.name) {
            return *number;
        }
        known.last += 1;
        let number = RequestId(known.last);
        known.infos.push_back((number, info));
        if known.infos.len() > Self::KEPT {
            known.infos.pop_front();
        }
        number
    }

    /// The number of a name, as a row of nova's has it.
    pub fn number_of(&self, name: &str) -> RequestId {
        self.number(RequestInfo { name: name.to_owned(), user: None, project: None })
    }

    /// What is known of a request.
    pub fn info(&self, number: RequestId) -> Option<RequestInfo> {
        let known = self.0.borrow();
        known.infos.iter().find(|(n, _)| *n == number).map(|(_, info)| info.clone())
    }

    /// A request's name; one that has none is `req-<number>`.
    pub fn name(&self, number: RequestId) -> String {
        self.info(number).map_or_else(|| number.to_string(), |info| info.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_number_and_the_oldest_are_forgotten() {
        let requests = Requests::default();
        let first = requests.number_of("req-a");
        assert_eq!(requests.number_of("req-a"), first);
        assert_eq!(requests.name(first), "req-a");
        for n in 0..Requests::KEPT {
            requests.number_of(&format!("req-{n}-"));
        }
        assert_eq!(requests.name(first), "req-1");
        assert_ne!(requests.number_of("req-a"), first);
    }
}
