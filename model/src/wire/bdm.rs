//! `block_device_mapping.connection_info`: a text of JSON, as nova writes and reads it.
//!
//! Nova keeps what cinder answered and adds `serial` and, on 2026.1, `multiattach`; pike stashes
//! the connector in it (nova bug 1452032). A CHAP password is in it in clear: the text is as secret
//! as that.

use castoff_ports::Secret;
use castoff_ports::cinder::ConnectionInfo;
use serde_json::{Map, Value, json};

use super::volume;

/// The connection_info in a row's text: none before the guest has the disk (nova writes NULL,
/// `null` or `{}`).
///
/// # Errors
/// What is not an iSCSI connection: castoff must not take it for a volume that was never connected.
pub fn decode_connection_info(text: &str) -> Result<Option<ConnectionInfo>, NotIscsi> {
    let info: Value = serde_json::from_str(text).map_err(|_| NotIscsi)?;
    if info.is_null() || info.as_object().is_some_and(Map::is_empty) {
        return Ok(None);
    }
    // 2026.1 keeps the attachment's flat form under `data`, older ones os-initialize_connection's.
    let data = info.get("data").ok_or(NotIscsi)?;
    let mut decoded = volume::connection_info(&info, data).ok_or(NotIscsi)?;
    decoded.serial = volume::text(&info, "serial").map(Into::into);
    decoded.connector = info.get("connector").map(volume::decode_connector);
    decoded.multiattach = volume::flag(&info, "multiattach");
    Ok(Some(decoded))
}

/// The text of a row, over the text that the row has: keys of a driver or of a newer nova that have
/// no name here stay as they are.
pub fn encode_connection_info(info: &ConnectionInfo, before: Option<&str>) -> Secret {
    let before = before.and_then(|text| serde_json::from_str(text).ok());
    let mut whole = before.filter(Value::is_object).unwrap_or_else(|| json!({}));
    whole["driver_volume_type"] = json!(info.driver_volume_type);
    let mut data = volume::encode_data(&info.data);
    data["device_path"] = json!(info.data.device_path);
    if let (Some(known), Some(new)) =
        (whole.get("data").and_then(Value::as_object), data.as_object_mut())
    {
        for (key, value) in known {
            new.entry(key).or_insert_with(|| value.clone());
        }
        for key in ["access_mode", "qos_specs", "cacheable", "discard", "enforce_multipath"] {
            if let Some(value) = known.get(key) {
                new.insert(key.to_owned(), value.clone());
            }
        }
    }
    whole["data"] = data;
    whole["serial"] = json!(info.serial);
    if let Some(connector) = &info.connector {
        whole["connector"] = volume::encode_connector(connector);
    }
    if info.multiattach {
        whole["multiattach"] = json!(true);
    }
    Secret::new(whole.to_string())
}

/// A connection_info of another kind of volume, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection_info is not that of an iSCSI volume")]
pub struct NotIscsi;

#[cfg(test)]
mod tests {
    use super::*;

    const NOVAS: &str = r#"{"driver_volume_type": "iscsi", "data": {"target_discovered": false,
        "target_portal": "192.0.2.20:3260", "target_iqn": "iqn.2010-10.org.openstack:volume-1",
        "target_lun": 1, "volume_id": "v1", "auth_method": "CHAP", "auth_username": "u",
        "auth_password": "hush", "access_mode": "ro", "qos_specs": {"total_iops_sec": "7"},
        "encrypted": false, "cacheable": true, "device_path": "/dev/sda"},
        "status": "attaching", "instance": "i1", "attached_at": "", "serial": "v1"}"#;

    #[test]
    fn a_row_of_nova_is_read_and_written_again_with_all_that_it_had() {
        let info = decode_connection_info(NOVAS).unwrap().unwrap();
        assert_eq!(info.data.device_path.as_deref(), Some("/dev/sda"));
        assert_eq!(info.serial.as_ref().unwrap().as_str(), "v1");
        let text = encode_connection_info(&info, Some(NOVAS));
        let (now, before): (Value, Value) =
            (serde_json::from_str(text.reveal()).unwrap(), serde_json::from_str(NOVAS).unwrap());
        for (key, value) in before["data"].as_object().unwrap() {
            assert_eq!(now["data"][key], *value, "{key}");
        }
        assert_eq!(now["status"], "attaching");
        assert_eq!(decode_connection_info(text.reveal()), Ok(Some(info)));
    }

    #[test]
    fn what_was_never_connected_has_none_and_another_kind_is_an_error() {
        assert_eq!(decode_connection_info("null"), Ok(None));
        assert_eq!(decode_connection_info("{}"), Ok(None));
        let rbd = r#"{"driver_volume_type": "rbd", "data": {"name": "volumes/v1"}}"#;
        assert_eq!(decode_connection_info(rbd), Err(NotIscsi));
        assert_eq!(decode_connection_info("hush"), Err(NotIscsi));
    }
}
