-- Nova 33's tables as far as castoff writes them: columns, types and unique keys as `nova-manage db sync` makes them on
-- SQLite (foreign keys and indexes left out). Tests make a database of it; real/openstack/test.sh compares it with Nova's own.
CREATE TABLE instances (
  id INTEGER NOT NULL, user_id VARCHAR(255), project_id VARCHAR(255), image_ref VARCHAR(255), kernel_id
  VARCHAR(255), ramdisk_id VARCHAR(255), hostname VARCHAR(255), launch_index INTEGER, key_name VARCHAR(255),
  key_data TEXT, power_state INTEGER, vm_state VARCHAR(255), task_state VARCHAR(255), memory_mb INTEGER, vcpus
  INTEGER, root_gb INTEGER, ephemeral_gb INTEGER, ephemeral_key_uuid VARCHAR(36), host VARCHAR(255), node
  VARCHAR(255), compute_id BIGINT, instance_type_id INTEGER, user_data TEXT, reservation_id VARCHAR(255),
  launched_at DATETIME, terminated_at DATETIME, availability_zone VARCHAR(255), display_name VARCHAR(255),
  display_description VARCHAR(255), launched_on TEXT, locked BOOLEAN, locked_by VARCHAR(5), os_type
  VARCHAR(255), architecture VARCHAR(255), vm_mode VARCHAR(255), uuid VARCHAR(36) NOT NULL, root_device_name
  VARCHAR(255), default_ephemeral_device VARCHAR(255), default_swap_device VARCHAR(255), config_drive
  VARCHAR(255), access_ip_v4 VARCHAR(39), access_ip_v6 VARCHAR(39), auto_disk_config BOOLEAN, progress
  INTEGER, shutdown_terminate BOOLEAN, disable_terminate BOOLEAN, cell_name VARCHAR(255), cleaned INTEGER,
  hidden BOOLEAN, created_at DATETIME, updated_at DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY
  (id), UNIQUE (uuid)
);
CREATE TABLE services (
  id INTEGER NOT NULL, uuid VARCHAR(36), host VARCHAR(255), binary VARCHAR(255), topic VARCHAR(255),
  report_count INTEGER NOT NULL, disabled BOOLEAN, disabled_reason VARCHAR(255), last_seen_up DATETIME,
  forced_down BOOLEAN, version INTEGER, created_at DATETIME, updated_at DATETIME, deleted_at DATETIME, deleted
  INTEGER, PRIMARY KEY (id), UNIQUE (host, binary, deleted), UNIQUE (host, topic, deleted)
);
CREATE TABLE block_device_mapping (
  id INTEGER NOT NULL, instance_uuid VARCHAR(36), uuid VARCHAR(36), source_type VARCHAR(255), destination_type
  VARCHAR(255), guest_format VARCHAR(255), device_type VARCHAR(255), disk_bus VARCHAR(255), boot_index
  INTEGER, device_name VARCHAR(255), delete_on_termination BOOLEAN, snapshot_id VARCHAR(36), volume_id
  VARCHAR(36), volume_size INTEGER, volume_type VARCHAR(255), image_id VARCHAR(36), no_device BOOLEAN,
  connection_info TEXT, tag VARCHAR(255), attachment_id VARCHAR(36), encrypted BOOLEAN, encryption_secret_uuid
  VARCHAR(36), encryption_format VARCHAR(128), encryption_options VARCHAR(4096), created_at DATETIME,
  updated_at DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY (id), UNIQUE (uuid)
);
CREATE TABLE instance_actions (
  id INTEGER NOT NULL, action VARCHAR(255), instance_uuid VARCHAR(36), request_id VARCHAR(255), user_id
  VARCHAR(255), project_id VARCHAR(255), start_time DATETIME, finish_time DATETIME, message VARCHAR(255),
  created_at DATETIME, updated_at DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY (id)
);
CREATE TABLE instance_actions_events (
  id INTEGER NOT NULL, event VARCHAR(255), action_id INTEGER, start_time DATETIME, finish_time DATETIME,
  result VARCHAR(255), traceback TEXT, host VARCHAR(255), details TEXT, created_at DATETIME, updated_at
  DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY (id)
);
CREATE TABLE instance_system_metadata (
  id INTEGER NOT NULL, "key" VARCHAR(255) NOT NULL, value VARCHAR(255), instance_uuid VARCHAR(36) NOT NULL,
  created_at DATETIME, updated_at DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY (id)
);
CREATE TABLE instance_faults (
  id INTEGER NOT NULL, instance_uuid VARCHAR(36), code INTEGER NOT NULL, message VARCHAR(255), details TEXT,
  host VARCHAR(255), created_at DATETIME, updated_at DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY
  KEY (id)
);
CREATE TABLE instance_info_caches (
  id INTEGER NOT NULL, network_info TEXT, instance_uuid VARCHAR(36) NOT NULL, created_at DATETIME, updated_at
  DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY (id), UNIQUE (instance_uuid)
);
CREATE TABLE instance_extra (
  id INTEGER NOT NULL, instance_uuid VARCHAR(36) NOT NULL, device_metadata TEXT, numa_topology TEXT,
  pci_requests TEXT, flavor TEXT, vcpu_model TEXT, migration_context TEXT, keypairs TEXT, trusted_certs TEXT,
  resources TEXT, created_at DATETIME, updated_at DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY
  (id)
);
CREATE TABLE instance_metadata (
  id INTEGER NOT NULL, "key" VARCHAR(255), value VARCHAR(255), instance_uuid VARCHAR(36), created_at DATETIME,
  updated_at DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY (id)
);
CREATE TABLE migrations (
  id INTEGER NOT NULL, source_compute VARCHAR(255), dest_compute VARCHAR(255), source_node VARCHAR(255),
  dest_node VARCHAR(255), dest_compute_id BIGINT, dest_host VARCHAR(255), old_instance_type_id INTEGER,
  new_instance_type_id INTEGER, instance_uuid VARCHAR(36), uuid VARCHAR(36), status VARCHAR(255),
  migration_type VARCHAR(14), hidden BOOLEAN, memory_total BIGINT, memory_processed BIGINT, memory_remaining
  BIGINT, disk_total BIGINT, disk_processed BIGINT, disk_remaining BIGINT, cross_cell_move BOOLEAN, user_id
  VARCHAR(255), project_id VARCHAR(255), created_at DATETIME, updated_at DATETIME, deleted_at DATETIME,
  deleted INTEGER, PRIMARY KEY (id)
);
CREATE TABLE virtual_interfaces (
  id INTEGER NOT NULL, address VARCHAR(255), network_id INTEGER, instance_uuid VARCHAR(36), uuid VARCHAR(36),
  tag VARCHAR(255), created_at DATETIME, updated_at DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY
  KEY (id), UNIQUE (address, deleted)
);
CREATE TABLE security_group_instance_association (
  id INTEGER NOT NULL, security_group_id INTEGER, instance_uuid VARCHAR(36), created_at DATETIME, updated_at
  DATETIME, deleted_at DATETIME, deleted INTEGER, PRIMARY KEY (id)
);
CREATE TABLE instance_id_mappings (
  id INTEGER NOT NULL, uuid VARCHAR(36) NOT NULL, created_at DATETIME, updated_at DATETIME, deleted_at
  DATETIME, deleted INTEGER, PRIMARY KEY (id)
);
CREATE TABLE tags (
  resource_id VARCHAR(36) NOT NULL, tag VARCHAR(80) NOT NULL, PRIMARY KEY (resource_id, tag)
);
CREATE TABLE console_auth_tokens (
  id INTEGER NOT NULL, token_hash VARCHAR(255) NOT NULL, console_type VARCHAR(255) NOT NULL, host VARCHAR(255)
  NOT NULL, port INTEGER NOT NULL, tls_port INTEGER, internal_access_path VARCHAR(255), instance_uuid
  VARCHAR(36) NOT NULL, expires INTEGER NOT NULL, access_url_base VARCHAR(255), created_at DATETIME,
  updated_at DATETIME, PRIMARY KEY (id), UNIQUE (token_hash)
);
