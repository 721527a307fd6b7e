//! The text that `multipath -l` and `lsblk` print, as os-brick 1.12 reads it.

use castoff_ports::DeviceName;

/// What `multipath -l /dev/sdb` says of the map over a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// `mpatha`, or the WWID without friendly names.
    pub name: String,
    /// Its paths.
    pub devices: Vec<DeviceName>,
}

/// Words before the name when the command has just done something to the map.
const ACTIONS: [&str; 7] =
    ["unchanged:", "reject:", "reload:", "switchpg:", "rename:", "create:", "resize:"];

/// Lines of the head of a map: its name, its size, its first path group.
const HEAD: usize = 3;

/// The first map in the output; none when there is no output.
pub fn map(stdout: &str) -> Option<Map> {
    let mut lines = stdout.trim().lines().filter(|l| !is_log_line(l));
    let first = lines.next()?;
    let mut words = first.split(' ');
    let mut name = words.next().filter(|w| !w.is_empty())?;
    if ACTIONS.contains(&name) {
        name = words.next()?;
    }
    let devices = lines.skip(HEAD - 1).filter(|l| !l.contains("policy")).filter_map(|line| {
        // `| `- 2:0:0:1 sdb 8:16 active undef running`.
        let mut words = line.trim_start_matches([' ', '|', '-', '`']).split_ascii_whitespace();
        words.next().and_then(|_hctl| words.next()).map(DeviceName::new)
    });
    Some(Map { name: name.to_owned(), devices: devices.collect() })
}

/// `Jun 30 12:00:00 | ...`: what libmultipath logs in between.
fn is_log_line(line: &str) -> bool {
    let mut words = line.split(' ');
    let month = words.next().is_some_and(|m| m.len() == 3);
    let day = words.next().is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
    let time = words.next().is_some_and(|t| t.len() == 8 && t.matches(':').count() == 2);
    month && day && time && words.next() == Some("|")
}

/// Whether `lsblk -o NAME,RO -l -n` shows a device of this WWID as read-only.
pub fn is_read_only(stdout: &str, wwn: &str) -> bool {
    stdout.lines().any(|line| {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        name.contains(wwn) && words.next_back() == Some("1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
mpatha (360014050001) dm-0 LIO-ORG,volume
size=1.0G features='1 queue_if_no_path' hwhandler='1 alua' wp=rw
|-+- policy='service-time 0' prio=0 status=active
| `- 2:0:0:1 sdb 8:16 active undef running
`-+- policy='service-time 0' prio=0 status=enabled
  `- 3:0:0:1 sdc 8:32 active undef running
";

    #[test]
    fn a_map_is_read_with_its_name_and_paths() {
        let expected = Map { name: "mpatha".to_owned(), devices: vec!["sdb".into(), "sdc".into()] };
        assert_eq!(map(LIST), Some(expected.clone()));
        let logged = format!("Jun 30 12:00:00 | sdd: no path\nreload: {LIST}");
        assert_eq!(map(&logged), Some(expected));
        assert_eq!(map(""), None);
    }

    #[test]
    fn only_the_volumes_own_device_counts_as_read_only() {
        let out = "sda 0\n360014050001 (dm-0)  1\n360014050002 (dm-1)  0\n";
        assert!(is_read_only(out, "360014050001"));
        assert!(!is_read_only(out, "360014050002"));
    }
}
