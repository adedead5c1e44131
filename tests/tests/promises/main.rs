//! The promises of the threat model, each attacked from inside a running sandbox.

mod binaries;
mod binaries_ends;
mod binaries_script;
mod binaries_unread;
mod p01_no_secret_inside;
mod p02_one_way_out;
mod p03_judged_is_sent;
mod p04_refused_is_untouched;
mod p05_credential_to_its_host;
mod p06_denied_paths;
mod p07_filter_never_absent;
mod p08_no_privilege;
mod p09_tightening;
mod p10_bad_input;
mod p11_everything_written;
mod p12_host_is_not_starved;
mod p13_faults_fail_closed;
mod rule_limits;
