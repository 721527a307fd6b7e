//! What happens to the world of its own accord, at a moment that a plan chooses.

use castoff_ports::SimTime;
use castoff_ports::libvirt::PowerState;
use castoff_ports::plan::EnvironmentEvent;

use crate::hypervisor::LetsGo;
use crate::world::World;

impl World {
    /// Lets it happen at `now`.
    pub fn environment(&mut self, now: SimTime, event: EnvironmentEvent) {
        match event {
            EnvironmentEvent::GuestDeaf => self.hypervisor.set_lets_go(now, LetsGo::Never),
            EnvironmentEvent::QemuKilled => {
                let running: Vec<_> =
                    self.novadb.instances().iter().map(|i| i.uuid.clone()).collect();
                for instance in running {
                    // A server without a domain has no QEMU that could die.
                    let _ = self.hypervisor.set_power(
                        &mut self.facts,
                        &mut self.kernel,
                        &mut self.storage,
                        now,
                        &instance,
                        PowerState::Shutdown,
                    );
                }
            }
            EnvironmentEvent::PortalsDown => {
                self.storage.lost_portals = self.storage.portals().cloned().collect();
            }
            EnvironmentEvent::TokensExpired => self.keystone.expire_tokens(now),
        }
    }
}
