//! Nova itself is as recorded; a call more, less or elsewhere is not.

use super::*;

/// What nova itself would have issued here.
fn of_nova(recording: Recording) -> Vec<Issued> {
    let raw = |call: &str| {
        let (name, meaning) = call.split_once(' ').unwrap_or((call, ""));
        let value = ["0x0", "0x1", "0x2"].into_iter().find(|v| flags(name, v) == Some(meaning));
        value.map_or(name.to_owned(), |v| format!("{name} flags={v}"))
    };
    let calls = recorded_libvirt(recording.libvirt_log()).into_iter().map(|c| raw(&c));
    let started = recording.command_log().lines().filter_map(|l| l.split_once(" START "));
    let commands = started.map(|(_, c)| c.to_owned());
    let commands = commands.filter(|c| !UDEV.iter().any(|udev| c.starts_with(udev)));
    calls.chain(commands).map(|text| Issued { at_s: 0.0, text }).collect()
}

#[test]
fn nova_itself_is_as_recorded_and_a_call_more_less_or_elsewhere_is_not() {
    for (recording, calls, commands) in [(Recording::OnePath, 13, 9), (Recording::TwoPaths, 13, 12)]
    {
        let nova = of_nova(recording);
        let same = compare(recording, &nova);
        assert_eq!(same, Compared { calls, commands, differences: Vec::new() });
        for at in 0..nova.len() {
            let mut less = nova.clone();
            less.remove(at);
            assert_ne!(compare(recording, &less).differences, Vec::<String>::new(), "{at}");
            let mut more = nova.clone();
            more.insert(at, nova[at].clone());
            assert_ne!(compare(recording, &more).differences, Vec::<String>::new(), "{at}");
        }
        let mut swapped = nova.clone();
        swapped.swap(calls + 1, calls + 2);
        let found = compare(recording, &swapped).differences;
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

#[test]
fn a_guest_that_never_lets_go_is_asked_in_novas_way_but_less_often() {
    let asked = |attempts: usize, pause: f64, first: &str| {
        let call = |at_s: f64, text: &str| Issued { at_s, text: text.to_owned() };
        let mut all = vec![
            call(0.0, first),
            call(0.0, "virDomainDetachDeviceFlags flags=0x2"),
            call(0.1, "virDomainGetXMLDesc flags=0x2"),
            call(0.2, "virDomainDetachDeviceFlags flags=0x1"),
        ];
        for n in 1..attempts {
            let at = 0.2 + pause * n as f64;
            all.push(call(at, "virDomainGetXMLDesc flags=0x0"));
            all.push(call(at, "virDomainDetachDeviceFlags flags=0x1"));
        }
        compare(Recording::NeverAnswers, &all).differences
    };
    let look = "virDomainGetXMLDesc flags=0x0";
    assert_eq!(asked(2, 6.4, look), Vec::<String>::new());
    assert_ne!(asked(3, 6.4, look), Vec::<String>::new(), "once more");
    // libvirt alone waits five seconds.
    assert_ne!(asked(2, 5.0, look), Vec::<String>::new(), "too soon");
    let inactive = "virDomainGetXMLDesc flags=0x2";
    assert_ne!(asked(2, 6.4, inactive), Vec::<String>::new(), "after another look");
}
