"""Queries of more kinds than the sample rows ask, each with rewrites that ask the same and mutants that do not."""

SHOP = """
CREATE TYPE state AS ENUM ('new', 'paid', 'sent', 'lost');
CREATE TABLE region (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE customer (id int PRIMARY KEY, name varchar(40) NOT NULL, email text, region_id int REFERENCES region (id), born date, vip boolean NOT NULL);
CREATE TABLE product (sku char(4) PRIMARY KEY, title text NOT NULL, price numeric(8,2) NOT NULL, weight real, tags text[], stock smallint);
CREATE TABLE purchase (id bigint PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, placed timestamp NOT NULL, state state NOT NULL, note text);
CREATE TABLE item (purchase_id bigint NOT NULL REFERENCES purchase (id), sku char(4) NOT NULL REFERENCES product (sku), quantity int NOT NULL,
                   discount double precision, PRIMARY KEY (purchase_id, sku));
CREATE TABLE employee (id int PRIMARY KEY, name text NOT NULL, manager_id int REFERENCES employee (id), salary numeric(10,2), hired timestamptz);
"""
# expected: (rewrites, mutants)
CASES = {
    "SELECT name FROM customer WHERE vip": (
        ["SELECT name FROM customer WHERE vip = true", "SELECT c.name FROM customer c WHERE NOT (vip IS FALSE)"],
        ["SELECT name FROM customer WHERE NOT vip", "SELECT name FROM customer", "SELECT DISTINCT name FROM customer WHERE vip"],
    ),
    "SELECT c.name, count(p.id) FROM customer c LEFT JOIN purchase p ON p.customer_id = c.id GROUP BY c.id, c.name": (
        ["SELECT name, (SELECT count(*) FROM purchase WHERE customer_id = customer.id) FROM customer"],
        [
            "SELECT c.name, count(*) FROM customer c LEFT JOIN purchase p ON p.customer_id = c.id GROUP BY c.id, c.name",
            "SELECT c.name, count(p.id) FROM customer c JOIN purchase p ON p.customer_id = c.id GROUP BY c.id, c.name",
            "SELECT c.name, count(p.id) FROM customer c LEFT JOIN purchase p ON p.customer_id = c.id GROUP BY c.name",
        ],
    ),
    "SELECT name FROM customer WHERE id NOT IN (SELECT customer_id FROM purchase)": (
        [
            "SELECT name FROM customer c WHERE NOT EXISTS (SELECT 1 FROM purchase p WHERE p.customer_id = c.id)",
            "SELECT c.name FROM customer c LEFT JOIN purchase p ON p.customer_id = c.id WHERE p.id IS NULL",
        ],
        [
            "SELECT name FROM customer WHERE id IN (SELECT customer_id FROM purchase)",
            "SELECT name FROM customer WHERE id NOT IN (SELECT id FROM purchase)",
        ],
    ),
    "SELECT title FROM product ORDER BY price DESC, title LIMIT 3": (
        [
            "SELECT title FROM (SELECT title, row_number() OVER (ORDER BY price DESC, title) AS n FROM product) r WHERE n <= 3 ORDER BY n",
            "SELECT title FROM product ORDER BY 0 - price, 1 FETCH FIRST 3 ROWS ONLY",
        ],
        [
            "SELECT title FROM product ORDER BY price, title LIMIT 3",
            "SELECT title FROM product ORDER BY price DESC, title LIMIT 4",
            "SELECT title FROM product ORDER BY title, price DESC LIMIT 3",
            "SELECT title FROM product ORDER BY price DESC, title OFFSET 3",
            "SELECT title FROM product ORDER BY price DESC, title DESC LIMIT 3",
        ],
    ),
    "SELECT title FROM product ORDER BY price DESC LIMIT 1": (
        [
            "SELECT title FROM product ORDER BY price DESC, title LIMIT 1",
            "SELECT title FROM product ORDER BY price DESC, title DESC LIMIT 1",
            "SELECT title FROM product WHERE price = (SELECT max(price) FROM product) LIMIT 1",
        ],
        ["SELECT title FROM product WHERE price = (SELECT max(price) FROM product)", "SELECT title FROM product ORDER BY price LIMIT 1"],
    ),
    "SELECT sum(i.quantity * p.price) FROM item i JOIN product p USING (sku)": (
        ["SELECT sum(t.total) FROM (SELECT quantity * price AS total FROM item NATURAL JOIN product) t"],
        [
            "SELECT sum(i.quantity + p.price) FROM item i JOIN product p USING (sku)",
            "SELECT sum(i.quantity) * sum(p.price) FROM item i JOIN product p USING (sku)",
        ],
    ),
    "SELECT state, count(*) FROM purchase WHERE placed >= '2024-01-01' AND placed < '2025-01-01' GROUP BY state HAVING count(*) >= 2": (
        [
            "SELECT state, count(*) FROM purchase WHERE date_part('year', placed) = 2024 GROUP BY state HAVING count(*) > 1",
            "SELECT state, count(*) FROM purchase WHERE placed BETWEEN '2024-01-01' AND '2024-12-31 23:59:59.999999' GROUP BY 1 HAVING count(*) >= 2",
        ],
        [
            "SELECT state, count(*) FROM purchase WHERE placed >= '2024-01-01' AND placed < '2025-01-01' GROUP BY state HAVING count(*) > 2",
            "SELECT state, count(*) FROM purchase WHERE placed > '2024-01-01' AND placed < '2025-01-01' GROUP BY state HAVING count(*) >= 2",
            "SELECT state, count(*) FROM purchase WHERE placed BETWEEN '2024-01-01' AND '2024-12-31' GROUP BY state HAVING count(*) >= 2",
            "SELECT state, count(*) FROM purchase WHERE placed >= '2024-01-01' GROUP BY state HAVING count(*) >= 2",
        ],
    ),
    "SELECT e.name, m.name FROM employee e JOIN employee m ON e.manager_id = m.id": (
        ["SELECT m.name, e.name FROM employee m, employee e WHERE m.id = e.manager_id"],
        [
            "SELECT e.name, m.name FROM employee e LEFT JOIN employee m ON e.manager_id = m.id",
            "SELECT e.name, m.name FROM employee e JOIN employee m ON e.id = m.id",
            "SELECT e.name, e.name FROM employee e JOIN employee m ON e.manager_id = m.id",
        ],
    ),
    "SELECT name FROM employee e WHERE salary > (SELECT salary FROM employee m WHERE m.id = e.manager_id)": (
        ["SELECT e.name FROM employee e JOIN employee m ON m.id = e.manager_id WHERE m.salary < e.salary"],
        [
            "SELECT name FROM employee e WHERE salary >= (SELECT salary FROM employee m WHERE m.id = e.manager_id)",
            "SELECT name FROM employee e WHERE salary < (SELECT salary FROM employee m WHERE m.id = e.manager_id)",
        ],
    ),
    "SELECT CASE WHEN price > 100 THEN 'dear' WHEN price > 10 THEN 'fair' ELSE 'cheap' END AS class, count(*) FROM product GROUP BY 1": (
        ["SELECT CASE WHEN price <= 10 THEN 'cheap' WHEN price <= 100 THEN 'fair' ELSE 'dear' END, count(*) FROM product GROUP BY 1"],
        [
            "SELECT CASE WHEN price >= 100 THEN 'dear' WHEN price > 10 THEN 'fair' ELSE 'cheap' END AS class, count(*) FROM product GROUP BY 1",
            "SELECT CASE WHEN price > 100 THEN 'dear' WHEN price >= 10 THEN 'fair' ELSE 'cheap' END AS class, count(*) FROM product GROUP BY 1",
        ],
    ),
    "SELECT name, rank() OVER (ORDER BY salary DESC) FROM employee WHERE salary IS NOT NULL": (
        ["SELECT name, (SELECT count(*) + 1 FROM employee o WHERE o.salary > e.salary) FROM employee e WHERE NOT salary IS NULL"],
        [
            "SELECT name, dense_rank() OVER (ORDER BY salary DESC) FROM employee WHERE salary IS NOT NULL",
            "SELECT name, rank() OVER (ORDER BY salary) FROM employee WHERE salary IS NOT NULL",
        ],
    ),
    "SELECT name FROM customer UNION SELECT name FROM employee": (
        ["SELECT DISTINCT name FROM (SELECT name::text FROM employee UNION ALL SELECT name FROM customer) x"],
        ["SELECT name FROM customer UNION ALL SELECT name FROM employee", "SELECT name FROM customer INTERSECT SELECT name FROM employee"],
    ),
    "SELECT name FROM customer EXCEPT SELECT name FROM employee": (
        ["SELECT DISTINCT name FROM customer c WHERE NOT EXISTS (SELECT FROM employee e WHERE e.name = c.name)"],
        ["SELECT name FROM customer EXCEPT ALL SELECT name FROM employee", "SELECT name FROM employee EXCEPT SELECT name FROM customer"],
    ),
    "SELECT title FROM product WHERE title ILIKE '%lamp%'": (
        [
            "SELECT title FROM product WHERE lower(title) LIKE '%lamp%'",
            "SELECT title FROM product WHERE title ~* 'lamp'",
            "SELECT title FROM product WHERE position('lamp' in lower(title)) > 0",
        ],
        [
            "SELECT title FROM product WHERE title LIKE '%lamp%'",
            "SELECT title FROM product WHERE title ILIKE 'lamp%'",
            "SELECT title FROM product WHERE title ILIKE '%lamp'",
        ],
    ),
    "SELECT avg(weight) FROM product WHERE stock > 0": (
        ["SELECT sum(weight) / count(weight) FROM product WHERE 0 < stock"],
        ["SELECT avg(coalesce(weight, 0)) FROM product WHERE stock > 0", "SELECT avg(weight) FROM product WHERE stock >= 0"],
    ),
    "SELECT sku FROM product WHERE 'red' = ANY (tags)": (
        ["SELECT sku FROM product WHERE tags @> ARRAY['red']", "SELECT DISTINCT sku FROM product, unnest(tags) AS tag WHERE tag = 'red'"],
        ["SELECT sku FROM product WHERE tags[1] = 'red'", "SELECT sku FROM product WHERE NOT 'red' = ANY (tags)"],
    ),
    "WITH spent AS (SELECT p.customer_id, sum(i.quantity) AS n FROM purchase p JOIN item i ON i.purchase_id = p.id GROUP BY p.customer_id) "
    "SELECT c.name FROM customer c JOIN spent s ON s.customer_id = c.id WHERE s.n > 10": (
        [
            "SELECT (SELECT name FROM customer WHERE id = customer_id) FROM purchase p JOIN item i ON purchase_id = p.id GROUP BY customer_id HAVING sum(quantity) > 10"
        ],
        [
            "WITH spent AS (SELECT p.customer_id, sum(i.quantity) AS n FROM purchase p JOIN item i ON i.purchase_id = p.id GROUP BY p.customer_id) "
            "SELECT c.name FROM customer c JOIN spent s ON s.customer_id = c.id WHERE s.n >= 10",
            "SELECT DISTINCT c.name FROM customer c JOIN purchase p ON p.customer_id = c.id JOIN item i ON i.purchase_id = p.id WHERE i.quantity > 10",
        ],
    ),
    "SELECT DISTINCT ON (customer_id) customer_id, id FROM purchase ORDER BY customer_id, placed DESC, id": (
        [
            "SELECT customer_id, id FROM (SELECT *, row_number() OVER (PARTITION BY customer_id ORDER BY placed DESC, id) r FROM purchase) x WHERE r = 1 ORDER BY 1"
        ],
        [
            "SELECT DISTINCT ON (customer_id) customer_id, id FROM purchase ORDER BY customer_id, placed, id",
            "SELECT customer_id, max(id) FROM purchase GROUP BY 1 ORDER BY 1",
        ],
    ),
    "SELECT count(DISTINCT customer_id) FROM purchase WHERE state <> 'lost'": (
        ["SELECT count(*) FROM (SELECT customer_id FROM purchase WHERE state IN ('new', 'paid', 'sent') GROUP BY 1) x"],
        ["SELECT count(customer_id) FROM purchase WHERE state <> 'lost'", "SELECT count(DISTINCT customer_id) FROM purchase"],
    ),
    "SELECT date_trunc('month', placed) AS month, count(*) FROM purchase GROUP BY 1 ORDER BY 1": (
        ["SELECT date_trunc('month', placed)::date, count(1) FROM purchase GROUP BY 1 ORDER BY 1 ASC"],
        [
            "SELECT date_trunc('year', placed) AS month, count(*) FROM purchase GROUP BY 1 ORDER BY 1",
            "SELECT date_trunc('month', placed) AS month, count(*) FROM purchase GROUP BY 1 ORDER BY 2",
            "SELECT date_trunc('month', placed) AS month, count(*) FROM purchase GROUP BY 1 ORDER BY 1 DESC",
        ],
    ),
    "SELECT r.name FROM region r WHERE EXISTS (SELECT 1 FROM customer c WHERE c.region_id = r.id AND c.vip)": (
        ["SELECT name FROM region WHERE id IN (SELECT region_id FROM customer WHERE vip)"],
        [
            "SELECT r.name FROM region r WHERE EXISTS (SELECT 1 FROM customer c WHERE c.region_id = r.id)",
            "SELECT r.name FROM region r JOIN customer c ON c.region_id = r.id WHERE c.vip",
            "SELECT r.name FROM region r WHERE EXISTS (SELECT 1 FROM customer c WHERE c.vip)",
        ],
    ),
    "SELECT name FROM customer WHERE email IS NULL OR born < '1990-01-01'": (
        ["SELECT name FROM customer WHERE NOT (email IS NOT NULL AND (born >= '1990-01-01' OR born IS NULL))"],
        [
            "SELECT name FROM customer WHERE email IS NULL AND born < '1990-01-01'",
            "SELECT name FROM customer WHERE email IS NULL OR born <= '1990-01-01'",
        ],
    ),
    "SELECT string_agg(name, ', ' ORDER BY name) FROM region": (
        ["SELECT array_to_string(array_agg(name ORDER BY name), ', ') FROM region"],
        ["SELECT string_agg(name, ', ' ORDER BY name DESC) FROM region", "SELECT string_agg(DISTINCT name, ', ' ORDER BY name) FROM region"],
    ),
    "SELECT purchase_id, sku FROM item WHERE discount = 0.25": (
        ["SELECT sku, purchase_id FROM item WHERE discount * 4 = 1"],
        ["SELECT purchase_id, sku FROM item WHERE discount > 0.25", "SELECT purchase_id, sku FROM item WHERE discount IS NOT NULL"],
    ),
    "SELECT coalesce(note, 'none') FROM purchase": (
        ["SELECT CASE WHEN note IS NULL THEN 'none' ELSE note END FROM purchase"],
        ["SELECT note FROM purchase", "SELECT coalesce(note, '') FROM purchase"],
    ),
    "SELECT name FROM employee WHERE hired > now() - interval '30 days'": (
        [
            "SELECT name FROM employee WHERE hired + interval '30 days' > now()",
            "SELECT name FROM employee WHERE age(now(), hired) < interval '30 days' OR now() - hired < interval '30 days'",
        ],
        ["SELECT name FROM employee WHERE hired > now() - interval '3 years'", "SELECT name FROM employee WHERE hired < now() - interval '30 days'"],
    ),
}
