//! instance_system_metadata: rows of key and value that belong to a server and go with it.

use castoff_ports::novadb::{SystemMetadata, SystemMetadataSet};
use castoff_ports::{InstanceId, Refusal};

use super::NovaDb;
use crate::fact::{Fact, Facts};
use crate::world::Step;

/// `String(255)` of both columns.
const COLUMN: usize = 255;

impl NovaDb {
    /// A server's rows, in the order in which they were first written.
    pub fn system_metadata(&self, instance: &InstanceId) -> Vec<SystemMetadata> {
        let rows = self.system_metadata.iter().filter(|(i, _)| i == instance);
        rows.map(|(_, row)| row.clone()).collect()
    }

    pub(super) fn system_metadata_set(
        &mut self,
        step: &mut Step,
        c: SystemMetadataSet,
    ) -> Result<(), Refusal> {
        if c.key.len() > COLUMN || c.value.len() > COLUMN {
            return Err(Refusal::http(500, "Data too long for column"));
        }
        if !self.instances.iter().any(|i| i.uuid == c.instance) {
            return Err(Refusal::not_found("Instance", c.instance));
        }
        let same =
            |(i, row): &&mut (InstanceId, SystemMetadata)| *i == c.instance && row.key == c.key;
        step.facts.push(Fact::SystemMetadata {
            instance: c.instance.clone(),
            key: c.key.clone(),
            present: true,
        });
        match self.system_metadata.iter_mut().find(same) {
            Some((_, row)) => row.value = c.value,
            None => {
                let row = SystemMetadata { key: c.key, value: c.value, created_at: step.now };
                self.system_metadata.push((c.instance, row));
            }
        }
        Ok(())
    }

    pub(super) fn system_metadata_delete(
        &mut self,
        facts: &mut Facts,
        instance: &InstanceId,
        key: &str,
    ) {
        let before = self.system_metadata.len();
        self.system_metadata.retain(|(i, row)| !(i == instance && row.key == key));
        if self.system_metadata.len() < before {
            let (instance, key) = (instance.clone(), key.to_owned());
            facts.push(Fact::SystemMetadata { instance, key, present: false });
        }
    }

    /// The rows go with their server.
    pub(super) fn system_metadata_of_deleted(&mut self, instance: &InstanceId) {
        self.system_metadata.retain(|(i, _)| i != instance);
    }
}
