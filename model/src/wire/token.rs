//! Tokens as JSON, and simulated time as the dates in them.
//!
//! A run begins at a fixed date, so that a date tells the simulated time to the microsecond.

use std::fmt::Write as _;

use castoff_ports::keystone::{IssuedToken, Role, TokenInfo};
use castoff_ports::{Secret, SimTime};
use serde_json::{Value, json};

/// The date of [`SimTime::ZERO`]: 2026-01-01, in days since 1970-01-01.
const EPOCH_DAY: i64 = 20_454;

const DAY: i64 = 86_400_000_000;

/// The body of both token responses.
pub(super) fn encode(info: &TokenInfo, issued_at: SimTime) -> Value {
    let domain = json!({"id": "default", "name": "Default"});
    let (user, project) = (info.user_id.as_str(), info.project_id.as_str());
    let roles: Vec<Value> =
        info.roles.iter().map(|role| json!({"id": role_id(*role), "name": role})).collect();
    json!({"token": {
        "methods": ["password"],
        "user": {"domain": domain, "id": user, "name": user, "password_expires_at": null},
        // An id of the token, of as many characters as keystone's.
        "audit_ids": [format!("{:022}", info.expires_at.0)],
        "expires_at": date(info.expires_at),
        "issued_at": date(issued_at),
        "project": {"domain": domain, "id": project, "name": project},
        "is_domain": false,
        "roles": roles,
        "catalog": [
            service("identity", "keystone", "http://keystone:5000/v3"),
            service("compute", "nova", "http://nova-api:8774/v2.1"),
            service("block-storage", "cinder", "http://cinder:8776/v3"),
            service("volumev3", "cinderv3", &format!("http://cinder:8776/v3/{project}")),
        ],
    }})
}

/// What the token in a response body says; roles that we do not know grant nothing.
pub(super) fn decode(body: &[u8]) -> Option<TokenInfo> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let token = body.get("token")?;
    let text = |value: &'_ Value| value.as_str().map(str::to_owned);
    Some(TokenInfo {
        user_id: text(token.pointer("/user/id")?)?.as_str().into(),
        project_id: text(token.pointer("/project/id")?)?.as_str().into(),
        roles: token
            .get("roles")?
            .as_array()?
            .iter()
            .filter_map(|role| serde_json::from_value(role.get("name")?.clone()).ok())
            .collect(),
        expires_at: parse_date(token.get("expires_at")?.as_str()?)?,
    })
}

/// The token of a 201 response: its id is a header.
pub(super) fn issued(token: &str, body: &[u8]) -> Option<IssuedToken> {
    Some(IssuedToken { token: Secret::new(token), info: decode(body)? })
}

fn role_id(role: Role) -> &'static str {
    match role {
        Role::Admin => "000000000000000000000000000000a1",
        Role::Member => "000000000000000000000000000000a2",
        Role::Reader => "000000000000000000000000000000a3",
        Role::Service => "000000000000000000000000000000a4",
    }
}

fn service(kind: &str, name: &str, url: &str) -> Value {
    let endpoint = |interface: &str| {
        json!({
            "id": format!("{name}-{interface}"),
            "interface": interface,
            "region_id": "RegionOne",
            "region": "RegionOne",
            "url": url,
        })
    };
    let endpoints = ["public", "internal", "admin"].map(endpoint);
    json!({"endpoints": endpoints, "id": name, "type": kind, "name": name})
}

/// Simulated time as keystone writes it: `2026-01-01T01:00:00.000000Z`.
pub(super) fn date(time: SimTime) -> String {
    let micros = i64::try_from(time.0).unwrap_or(i64::MAX);
    let (year, month, day) = civil(EPOCH_DAY + micros / DAY);
    let (secs, micros) = (micros % DAY / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    let mut text = String::with_capacity(27);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
    );
    text
}

/// The simulated time of a date; dates before the run began are its beginning.
pub(super) fn parse_date(text: &str) -> Option<SimTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?) - EPOCH_DAY;
    let secs = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let micros = match text.get(19..20) {
        Some(".") => number(20, 26)?,
        _ => 0,
    };
    let since = days * DAY + secs * 1_000_000 + micros;
    Some(SimTime(u64::try_from(since).unwrap_or(0)))
}

/// Days since 1970-01-01 of a date, with years that begin in March: leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970-01-01.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_begins_with_the_year_2026_and_knows_leap_days() {
        assert_eq!(date(SimTime::ZERO), "2026-01-01T00:00:00.000000Z");
        assert_eq!(date(SimTime(3_600_000_001)), "2026-01-01T01:00:00.000001Z");
        let leap = SimTime::from_secs((365 * 2 + 31 + 28) * 86_400);
        assert_eq!(date(leap), "2028-02-29T00:00:00.000000Z");
        assert_eq!(parse_date("2025-12-31T23:59:59Z"), Some(SimTime::ZERO));
        assert_eq!(parse_date("2026-01-01T00:00:02Z"), Some(SimTime::from_secs(2)));
        assert_eq!(parse_date("tomorrow"), None);
    }

    proptest! {
        #[test]
        fn a_date_tells_the_simulated_time_exactly(micros in 0..400 * 365 * DAY as u64) {
            prop_assert_eq!(parse_date(&date(SimTime(micros))), Some(SimTime(micros)));
        }
    }
}
