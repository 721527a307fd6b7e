//! Records to test with.

use super::*;

/// A head that selects two cases.
pub(crate) fn head() -> Head {
    Head {
        format: VERSION,
        run: "7f3a".to_owned(),
        castoff: "0.1.0".to_owned(),
        policy: "2026.1".to_owned(),
        started: "2026-03-04T05:06:07Z".to_owned(),
        host: HostFacts { libvirt: Some("9.0.0".to_owned()), ..HostFacts::default() },
        selected: vec!["healthy/file".to_owned(), "healthy/iscsi".to_owned()],
    }
}

/// A case that has everything.
pub(crate) fn case(id: &str) -> CaseRecord {
    let difference = |explained: Option<&str>| Difference {
        at: "3 iscsi::Logout".to_owned(),
        real: "exit 21".to_owned(),
        model: "exit 0".to_owned(),
        explained: explained.map(str::to_owned),
    };
    CaseRecord {
        id: id.to_owned(),
        title: "a disk is \"given\" back".to_owned(),
        cites: vec!["LP 1882521".to_owned()],
        grade: Grade::Differs,
        reason: Some("the event came late".to_owned()),
        took_ms: 8_250,
        checks: vec![CheckRecord { name: "c".to_owned(), ok: true, found: "1\n2".to_owned() }],
        steps: vec![StepRecord {
            operation: "libvirt::DetachDeviceFlags".to_owned(),
            from_us: 1,
            took_us: 2,
        }],
        refinement: Some(Refinement {
            times: Some("lab".to_owned()),
            compared: 9,
            differences: vec![difference(None), difference(Some("LIO answers so"))],
        }),
        replay: Some("castoff conform --case x".to_owned()),
    }
}

/// A run with a case of every grade, one that never ran, and texts that no format may trip over.
pub(crate) fn every_grade() -> Records {
    let of = |id: &str, grade| CaseRecord { grade, ..case(id) };
    let nasty = "<b>&\"']]>\u{0}\u{1b}[1m\n--> # é \u{1f980}";
    let skip = Some("needs multipathd # of multipath-tools".to_owned());
    let ids = ["guest/unplug/pass", "guest/unplug/differs", "initiator/logout/fail"];
    let mut selected: Vec<String> = ids.map(str::to_owned).to_vec();
    selected.extend(["initiator/logout/skip".to_owned(), "initiator/never".to_owned()]);
    let broken = CheckRecord { name: nasty.to_owned(), ok: false, found: nasty.to_owned() };
    let mut steps = case("").steps;
    steps.push(StepRecord {
        operation: "iscsi::Logout".to_owned(),
        from_us: 2_000_000,
        took_us: 500_000,
    });
    Records {
        head: Head { selected, ..head() },
        cases: vec![
            CaseRecord { reason: None, refinement: None, ..of(ids[0], Grade::Pass) },
            CaseRecord { steps, ..of(ids[1], Grade::Differs) },
            CaseRecord {
                title: nasty.to_owned(),
                reason: Some(nasty.to_owned()),
                checks: vec![broken],
                ..of(ids[2], Grade::Fail)
            },
            CaseRecord { reason: skip, ..of("initiator/logout/skip", Grade::Skip) },
        ],
        torn: true,
    }
}
