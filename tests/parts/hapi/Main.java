import ca.uhn.fhir.batch2.api.IJobMaintenanceService;
import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.batch2.jobs.reindex.ReindexProvider;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.rest.server.HardcodedServerAddressStrategy;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.EntityManagerFactory;
import java.util.Properties;
import javax.sql.DataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.ApplicationContext;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;
import org.springframework.transaction.annotation.EnableTransactionManagement;

/** HAPI FHIR R4 on PostgreSQL: java -Dport=18080 -Ddb.url=jdbc:postgresql://... Main */
public class Main {
  public static void main(String[] arguments) throws Exception {
    int port = Integer.getInteger("port");
    Server jetty = new Server();
    ServerConnector connector = new ServerConnector(jetty);
    connector.setHost("127.0.0.1");
    connector.setPort(port);
    jetty.addConnector(connector);
    ServletContextHandler handler = new ServletContextHandler("/");
    handler.addServlet(new ServletHolder(fhirServlet("http://127.0.0.1:" + port + "/fhir")), "/fhir/*");
    jetty.setHandler(handler);
    jetty.start();
    System.out.println("HAPI FHIR is up");
    jetty.join();
  }

  static RestfulServer fhirServlet(String address) {
    ApplicationContext beans = new AnnotationConfigApplicationContext(Beans.class);
    lookAfterJobs(beans.getBean(IJobMaintenanceService.class));
    RestfulServer server = new RestfulServer(beans.getBean(FhirContext.class));
    server.registerProviders(beans.getBean(ResourceProviderFactory.class).createProviders());
    server.registerProvider(beans.getBean(IJpaSystemProvider.class));
    server.registerProvider(beans.getBean(ReindexProvider.class));
    server.setPagingProvider(beans.getBean(DatabaseBackedPagingProvider.class));
    server.setServerConformanceProvider(new JpaCapabilityStatementProvider(
        server,
        beans.getBean(IFhirSystemDao.class),
        beans.getBean(JpaStorageSettings.class),
        beans.getBean(ISearchParamRegistry.class),
        beans.getBean(IValidationSupport.class)));
    server.setServerAddressStrategy(new HardcodedServerAddressStrategy(address));
    return server;
  }

  /** HAPI looks after its batch jobs once a minute, and a job takes several looks; every second makes tests short. */
  static void lookAfterJobs(IJobMaintenanceService jobs) {
    Thread looks = new Thread(() -> {
      while (true) {
        try {
          Thread.sleep(1000);
          jobs.runMaintenancePass();
        } catch (InterruptedException e) {
          return;
        } catch (RuntimeException e) {
          System.err.println("jobs were not looked after: " + e);
        }
      }
    });
    looks.setDaemon(true);
    looks.start();
  }

  @Configuration
  @EnableTransactionManagement
  @Import({JpaR4Config.class, ThreadPoolFactoryConfig.class, HapiJpaConfig.class, JpaBatch2Config.class,
      Batch2JobsConfig.class, SubscriptionChannelConfig.class})
  public static class Beans {
    /** A reference to a resource that is not there is refused, as on a server in earnest. */
    @Bean
    public JpaStorageSettings storageSettings() {
      JpaStorageSettings settings = new JpaStorageSettings();
      settings.setAllowMultipleDelete(true);
      settings.setAllowExternalReferences(true);
      settings.setEnforceReferentialIntegrityOnWrite(true);
      settings.setAutoCreatePlaceholderReferenceTargets(false);
      settings.setResourceClientIdStrategy(JpaStorageSettings.ClientIdStrategyEnum.ANY);
      settings.setAllowInlineMatchUrlReferences(true);
      settings.setReuseCachedSearchResultsForMillis(null);
      return settings;
    }

    @Bean
    public PartitionSettings partitionSettings() {
      return new PartitionSettings();
    }

    @Bean
    public SubscriptionSettings subscriptionSettings() {
      return new SubscriptionSettings();
    }

    @Bean(destroyMethod = "close")
    public DataSource dataSource() {
      HikariDataSource source = new HikariDataSource();
      source.setJdbcUrl(System.getProperty("db.url"));
      source.setUsername("postgres");
      source.setMaximumPoolSize(20);
      return source;
    }

    @Bean
    public LocalContainerEntityManagerFactoryBean entityManagerFactory(
        DataSource source, ConfigurableListableBeanFactory beans, FhirContext fhir, JpaStorageSettings settings) {
      LocalContainerEntityManagerFactoryBean factory =
          HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, fhir, settings);
      factory.setPersistenceUnitName("HAPI_PU");
      factory.setDataSource(source);
      Properties properties = new Properties();
      properties.put("hibernate.dialect", "ca.uhn.fhir.jpa.model.dialect.HapiFhirPostgresDialect");
      properties.put("hibernate.hbm2ddl.auto", "update");
      properties.put("hibernate.jdbc.batch_size", "20");
      properties.put("hibernate.search.enabled", "false");
      properties.put("hibernate.cache.use_query_cache", "false");
      factory.setJpaProperties(properties);
      return factory;
    }

    @Bean
    @Primary
    public JpaTransactionManager transactionManager(EntityManagerFactory factory) {
      JpaTransactionManager manager = new JpaTransactionManager();
      manager.setEntityManagerFactory(factory);
      return manager;
    }
  }
}
