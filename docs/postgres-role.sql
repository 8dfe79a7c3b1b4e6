-- What the role that servers connect as needs, and no more; run by the owner of the tables after `meterhouse migrate`.
CREATE ROLE meterhouse_server LOGIN;
GRANT USAGE ON SCHEMA public TO meterhouse_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO meterhouse_server;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO meterhouse_server;
