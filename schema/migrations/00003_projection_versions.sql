-- +goose Up
alter table eventstore.checkpoints add column version integer not null default 1;
comment on column eventstore.checkpoints.version is 'Version of the projection that folded the table; 1 for groups that keep no table.';
comment on column eventstore.checkpoints.consumer_group is 'Name of the group; renaming a group reads history again. "<table> (previous)" is no group but where the table stands that the last rebuild replaced.';
