//! The names by which browser tests find things (`data-testid`). Changing one breaks those tests.
//!
//! Login: `login-username` `login-password` `login-submit` `login-error`.
//! Frame: `nav` `nav-overview` `nav-access` `nav-deploy` (the Deploy button) `nav-PLURAL` (such as `nav-pods`)
//! `namespace-picker` `namespace-all` `namespace-NAME` `palette-open` `palette` `palette-input` `connection` `call-log`
//! `theme-toggle` `user-menu` `shortcuts` `logout` `toasts` `toast` `toast-error` `toast-undo` `page-title` `api-call`.
//! Lists: `table` `row` (with `data-name`) `filter` `row-count` `columns` `bulk-delete` `create`.
//! Apply: `apply-check` `apply-submit` `apply-plan` `apply-error`. Services: `services` `expose-open` `expose-service`
//! `expose-port-N` `expose-target-N` `expose-name-N` `expose-clusterip` `expose-nodeport` `expose-submit` `expose-error`.
//! Objects: `health` `tab-summary` `tab-yaml` `tab-events` `tab-pods` `tab-revisions` `tab-logs` `tab-terminal`
//! `delete` `delete-confirm` `events` `problem`.
//! YAML: `yaml-editor` `yaml-content` `yaml-edit` `yaml-review` `yaml-save` `yaml-cancel` `yaml-error` `yaml-notice` `diff` `diff-none`.
//! Deploy: `deploy-image` `deploy-name` `deploy-namespace` `deploy-replicas` `deploy-port-N` `deploy-port-add`
//! `deploy-expose` `deploy-env-name-N` `deploy-env-value-N` `deploy-env-add` `deploy-cpu-request` `deploy-cpu-limit`
//! `deploy-memory-request` `deploy-memory-limit` `deploy-submit` `deploy-error` (the sum; causes stand at their inputs) `deploy-yaml`.
//! Workloads: `scale-open` `scale-input` `scale-plus` `scale-minus` `scale-submit` `restart` `restart-confirm`
//! `rollback-N` (N is the revision) `rollback-confirm` `rollout-progress` `image-open` `image-input-NAME` `image-submit`.
//! Pods: `container-NAME` `logs` `logs-text` `logs-container` `logs-follow` `logs-previous` `logs-timestamps`
//! `logs-search` `logs-download` `terminal` `terminal-container` `terminal-start` `terminal-state`.
//! Nodes: `cordon`. Overview: `overview-nodes` `overview-workloads` `overview-addons` `overview-events`.
