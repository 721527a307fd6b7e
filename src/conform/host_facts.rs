//! What the host runs, by version.

use castoff_real::fixture::sh;

use super::record::HostFacts;

/// What the host runs.
pub(super) async fn facts() -> HostFacts {
    async fn ask(script: &str) -> Option<String> {
        let said = sh(script, &[""; 0]).await.ok()?;
        let said = said.trim();
        (!said.is_empty()).then(|| said.to_owned())
    }
    HostFacts {
        name: ask("uname -n").await,
        libvirt: ask("libvirtd --version | sed 's/.* //'").await,
        qemu: ask("qemu-system-x86_64 --version | sed -n '1s/.*version \\([^ ]*\\).*/\\1/p'").await,
        kernel: ask("uname -r").await,
        open_iscsi: ask("iscsiadm --version | sed 's/.* //'").await,
        multipath: ask("multipath -h 2>&1 | sed -n 's/^multipath-tools v\\([^ ]*\\).*/\\1/p'")
            .await,
    }
}
