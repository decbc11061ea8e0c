-- +goose Up
comment on column readmodel.conversations.step is 'Its step: initial, collecting_address, validating_address, confirming_changes, saving_changes, completed, or cancelled, expired, handed_over. In validating_address and saving_changes it waits for the CRM.';
comment on column readmodel.conversations.last_failure is 'Why the last of them failed, or the last call to another system.';
