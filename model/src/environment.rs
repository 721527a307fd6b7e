//! What happens to the world of its own accord, at a moment that a plan chooses.

use castoff_ports::SimTime;
use castoff_ports::plan::EnvironmentEvent;

use crate::hypervisor::{Happening, LetsGo};
use crate::world::World;

impl World {
    /// Lets it happen at `now`.
    pub fn environment(&mut self, now: SimTime, event: EnvironmentEvent) {
        match event {
            EnvironmentEvent::GuestDeaf => self.hypervisor.set_lets_go(now, LetsGo::Never),
            EnvironmentEvent::QemuKilled => self.hypervisor.schedule(now, Happening::QemuDies),
            EnvironmentEvent::PortalsDown => {
                self.storage.lost_portals = self.storage.portals().cloned().collect();
            }
            EnvironmentEvent::TokensExpired => self.keystone.expire_tokens(now),
        }
    }
}
