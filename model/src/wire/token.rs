//! Tokens as JSON, and simulated time as the dates in them.
//!
//! A run begins at a fixed date, so that a date tells the simulated time to the microsecond.

use std::fmt::Write as _;

use castoff_ports::keystone::{IssuedToken, Role, TokenInfo};
use castoff_ports::{Secret, SimTime};
use serde_json::{Value, json};
use smallvec::SmallVec;

use super::message::{CINDER, KEYSTONE};
use crate::keystone::{DOMAIN, Shown};

/// The date of [`SimTime::ZERO`]: 2026-01-01, in days since 1970-01-01.
const EPOCH_DAY: i64 = 20_454;

const DAY: i64 = 86_400_000_000;

/// The body of both token responses.
pub(super) fn encode(token: &Shown) -> Value {
    let domain = json!({"id": DOMAIN.0, "name": DOMAIN.1});
    // An id of the token, of as many characters as keystone's.
    let audit: Vec<String> = token.audit.iter().map(|n| format!("{n:022}")).collect();
    let user = token.info.user_id.as_str();
    let mut body = json!({
        "methods": token.methods,
        "user": {
            "domain": domain,
            "id": user,
            "name": token.user_name,
            "password_expires_at": null,
        },
        "audit_ids": audit,
        "expires_at": date(token.info.expires_at),
        "issued_at": date(token.issued_at),
    });
    if let Some(name) = token.project_name {
        let project = token.info.project_id.as_str();
        body["project"] = json!({"domain": domain, "id": project, "name": name});
        body["is_domain"] = json!(false);
        body["roles"] = roles(&token.info.roles);
        body["catalog"] = catalog(project);
    }
    json!({"token": body})
}

fn roles(roles: &[Role]) -> Value {
    let role = |id: &str, name: &str| json!({"id": id, "name": name});
    let mut all = Vec::new();
    // In keystone's order, whatever it comes from. Between admin and member there is a manager,
    // whose rights no service of a detach tells from a member's.
    let listed = [
        (Role::Member, "member", "000000000000000000000000000000a2"),
        (Role::Admin, "admin", "000000000000000000000000000000a1"),
        (Role::Admin, "manager", "000000000000000000000000000000a5"),
        (Role::Reader, "reader", "000000000000000000000000000000a3"),
        (Role::Service, "service", "000000000000000000000000000000a4"),
    ];
    for (given, name, id) in listed {
        if roles.contains(&given) {
            all.push(role(id, name));
        }
    }
    Value::Array(all)
}

/// The service catalog of a project.
pub(super) fn catalog(project: &str) -> Value {
    let volumev3 = format!("{CINDER}/v3/{project}");
    let services = [
        ("identity", "keystone", format!("{KEYSTONE}/v3")),
        ("compute", "nova", "http://nova-api:8774/v2.1".to_owned()),
        ("block-storage", "cinder", format!("{CINDER}/v3")),
        ("volumev3", "cinderv3", volumev3),
        ("placement", "placement", "http://placement:8778".to_owned()),
        ("network", "neutron", "http://neutron:9696".to_owned()),
        ("image", "glance", "http://glance:9292".to_owned()),
    ];
    let service = |(n, (kind, name, url)): (usize, &(&str, &str, String))| {
        let endpoint = |(m, interface): (usize, &str)| {
            json!({
                "id": format!("{:032x}", 0xe000 + n * 16 + m),
                "interface": interface,
                "region_id": "RegionOne",
                "url": url,
                "region": "RegionOne",
            })
        };
        let interfaces = ["public", "internal", "admin"].into_iter().enumerate();
        let endpoints: Vec<Value> = interfaces.map(endpoint).collect();
        let id = format!("{:032x}", 0x5000 + n);
        json!({"endpoints": endpoints, "id": id, "type": kind, "name": name})
    };
    Value::Array(services.iter().enumerate().map(service).collect())
}

/// What the token in a response body says; roles that we do not know grant nothing.
pub(super) fn decode(body: &[u8]) -> Option<TokenInfo> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let token = body.get("token")?;
    let text = |path: &str| token.pointer(path).and_then(Value::as_str);
    let mut roles: SmallVec<[Role; 3]> = match token.get("roles") {
        Some(roles) => roles.as_array()?.iter().filter_map(role).collect(),
        None => SmallVec::new(),
    };
    roles.sort_unstable();
    Some(TokenInfo {
        user_id: text("/user/id")?.into(),
        // An unscoped token names no project.
        project_id: text("/project/id").unwrap_or_default().into(),
        roles,
        expires_at: parse_date(text("/expires_at")?)?,
    })
}

fn role(role: &Value) -> Option<Role> {
    serde_json::from_value(role.get("name")?.clone()).ok()
}

/// The token of a 201 response: its id is a header.
pub(super) fn issued(token: &str, body: &[u8]) -> Option<IssuedToken> {
    Some(IssuedToken { token: Secret::new(token), info: decode(body)? })
}

/// Simulated time as keystone writes it: `2026-01-01T01:00:00.000000Z`.
pub fn date(time: SimTime) -> String {
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
pub fn parse_date(text: &str) -> Option<SimTime> {
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
