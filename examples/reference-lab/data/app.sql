create table customers (id integer primary key, name text not null, city text not null);
insert into customers values (1, 'Ada', 'London'), (2, 'Grace', 'New York'), (3, 'Edsger', 'Rotterdam'), (4, 'Barbara', 'Los Angeles');
create table orders (id integer primary key, customer integer not null references customers, total_cents integer not null);
insert into orders values (1, 1, 4200), (2, 1, 1999), (3, 2, 12050), (4, 3, 700), (5, 4, 3300), (6, 4, 8800);
